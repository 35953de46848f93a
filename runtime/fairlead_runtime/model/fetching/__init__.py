"""How a source that is not a local file is reached and read: rules for connections, credentials, listings, stores."""
