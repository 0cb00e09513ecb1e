"""What is measured beside single answers: confidence, names out of nowhere, forgetting, who asks."""
