"""How ``report.html`` looks: one style sheet, light and dark, for screens and paper. Pure data."""

from __future__ import annotations

STYLE = """
:root { --paper: #faf9f6; --card: #fff; --ink: #201f1d; --grey: #6b6761; --line: #e3e0d9; --good: #2f7d4f; --bad: #b3261e;
  --wait: #8a6100; --light: #fff; --dark: #e4e4e4 }
@media (prefers-color-scheme: dark) { :root { --paper: #191817; --card: #232220; --ink: #eceae5; --grey: #a19c94;
  --line: #38352f; --good: #6cc08f; --bad: #ff8a80; --wait: #e0b34c; --light: #55534f; --dark: #45433f } }
* { box-sizing: border-box }
body { font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink);
  background: var(--paper); margin: 0 auto; max-width: 82rem; padding: 2.2rem 1.6rem 4rem }
h1 { font-size: 1.75rem; letter-spacing: -.015em; margin: 0 } h2 { font-size: 1.1rem; margin: 2.4rem 0 .8rem }
h2 small { color: var(--grey); font-weight: 400; margin-left: .3rem } p { color: var(--grey); margin: .2rem 0 }
a { color: inherit } small { font-size: .86em }
.bar { display: flex; gap: 2px; height: 10px; border-radius: 5px; overflow: hidden; margin: 1.3rem 0 1.2rem }
.bar i { min-width: 4px } .bar .done { background: var(--good) } .bar .failed { background: var(--bad) }
.bar .rejected { background: var(--bad); opacity: .6 } .bar .waiting { background: var(--wait) }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.2rem, 1fr)); gap: .8rem; margin: 0 }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .7rem .9rem }
.tiles dt { color: var(--grey); font-size: .84rem } .tiles dd { margin: .1rem 0 0; font-size: 1.45rem; font-weight: 600;
  letter-spacing: -.01em; font-variant-numeric: tabular-nums }
.good { color: var(--good) } .failed, .rejected { color: var(--bad) } .waiting { color: var(--wait) }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line) }
th { text-align: left; font-weight: 600; color: var(--grey); font-size: .84rem }
th, td { padding: .5rem .8rem; border-bottom: 1px solid var(--line); vertical-align: top }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap } .words { overflow-wrap: anywhere }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(13.2rem, 1fr)); gap: 1rem }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; display: flex;
  flex-direction: column; break-inside: avoid }
.picture { display: flex; align-items: center; justify-content: center; height: 11.5rem; padding: .8rem;
  border-bottom: 1px solid var(--line) }
.picture img { max-width: 100%; max-height: 100%; border-radius: 2px; box-shadow: 0 1px 5px rgb(0 0 0 / .22);
  background: repeating-conic-gradient(var(--light) 0 25%, var(--dark) 0 50%) 0 0 / 16px 16px }
.card div + div { padding: .65rem .85rem .8rem; display: flex; flex-direction: column; gap: .22rem; flex: 1 }
.card b { overflow-wrap: anywhere; line-height: 1.3 } .card b a { text-decoration: none } 
.card b a:hover { text-decoration: underline }
.what { color: var(--grey); font-size: .86rem; overflow-wrap: anywhere; display: -webkit-box; -webkit-line-clamp: 2;
  -webkit-box-orient: vertical; overflow: hidden }
.facts { color: var(--grey); font-size: .84rem; font-variant-numeric: tabular-nums }
.files { margin-top: auto; padding-top: .35rem; display: flex; flex-wrap: wrap; gap: .3rem }
.files a { font-size: .78rem; text-decoration: none; border: 1px solid var(--line); border-radius: 999px; 
  padding: .05rem .5rem }
.files a:hover { border-color: var(--grey) }
@media print { body { padding: 0; max-width: none } }
"""
