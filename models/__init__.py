"""Networks as the rest of acetate sees them: layouts of frames, backbones, codecs, text encoders, loading.

Import what you need from the submodules; this file imports none of them, so that names and errors stay cheap.
"""
