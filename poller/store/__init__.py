"""Durable state: watched operations, their events, and the deliveries that wait."""
