"""What a continuation must and must not say: words, and grammars.

A constraint is a machine that is built once; where a continuation stands in it is an immutable value, so that beams
share and branch it and nothing needs to be reset. The decoding loop knows it by `protocol.Constraint` alone.
"""
