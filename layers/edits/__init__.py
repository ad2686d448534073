"""The edits of layered documents, by concept; ``acetate.layers.edit`` is their public namespace."""
