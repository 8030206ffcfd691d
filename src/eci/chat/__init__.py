"""Asking chat models: one request, one answer kept for good."""
