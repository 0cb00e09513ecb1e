"""What people say about answers, and the examples and preferences that come of it."""

from __future__ import annotations

from etude.feedback.entry import FILE, Feedback, FeedbackLog, new_id, read_feedback, standing

__all__ = ["FILE", "Feedback", "FeedbackLog", "new_id", "read_feedback", "standing"]
