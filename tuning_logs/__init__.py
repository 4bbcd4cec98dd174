"""Best verified tuning records that ship with the project, one folder a board model.

``<board model>/<network>-<height>x<width>.<tuner>.json`` in TVM's own format, the verdicts of
their verification in ``.verified.json`` and how they were measured in ``.meta.json`` beside it.
"""
