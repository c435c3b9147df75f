"""Every table, and the only SQL: runs in the controller, called by operations, partners, ha and api.

One module a noun, each with its tables and the functions that read and write them; a function takes the
transaction it works in, so that callers decide what commits together. `database` opens and serves transactions;
`schema` holds what the tables share; `everything` names all modules, so that no table is forgotten.
"""
