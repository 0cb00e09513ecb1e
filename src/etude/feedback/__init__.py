"""Feedback of people on answers, and the examples and preferences that result from it."""

from etude.feedback.entry import FILE, Feedback, FeedbackLog, drop_undone, new_id, read_feedback
