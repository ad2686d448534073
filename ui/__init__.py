"""The studio: a layer panel, a stage and a generator in the browser, on Gradio.

``app.build`` makes the application, ``app.launch`` serves it. Everything a visitor can do is a plain typed function in
``actions``; the page and ``gradio_client`` call the same named endpoints. Knows nothing of files' formats or networks'
insides: documents come from ``layers``, runs from ``api``.
"""
