"""Steps by which whole documents come and go, and what their journal entries hold of them."""
