"""The client of the Communications API: requests, answers, errors, rate limits and pauses."""
