"""The public table: samplers of other libraries, judged by the conformance kit.

:mod:`~steinlab.testing.peers.entries` lists what is judged,
:mod:`~steinlab.testing.peers.record` judges it and keeps what was seen, and
:mod:`~steinlab.testing.peers.page` makes ``docs/conformance.md`` of that:
``python -m steinlab.testing.peers --record FILE --page FILE``.
"""
