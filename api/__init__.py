"""HTTP: the application, its routes by resource, their schemas, and problem documents."""
