"""`coexist demo`: Meta in a box, every role, and the page."""
