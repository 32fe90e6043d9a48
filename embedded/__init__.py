"""Real servers for the sandbox and the tests: a MongoDB, an application, a company's data."""
