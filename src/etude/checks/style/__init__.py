"""Features of style that differ among answers without a reason in their inputs."""
