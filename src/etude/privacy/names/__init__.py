"""Names of people and postal addresses."""
