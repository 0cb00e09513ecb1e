"""Memory, time and disk that training needs."""
