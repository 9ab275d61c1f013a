"""Making a real federation: authority, server kit, site kits; requests, renewal, revocation."""
