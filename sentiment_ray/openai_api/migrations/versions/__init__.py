"""The steps of migration, from the first release on; each file is one step, and a released one is never changed."""
