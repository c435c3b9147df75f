"""What was changed about the tables, release by release, in Alembic's form: run by `store.upgrade`.

Made by `script/revision`; docs/recipes/schema-change.md says how. None of them is ever edited after its release.
"""
