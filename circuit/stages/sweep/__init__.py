"""``circuit steer sweep | select | specificity``: held-out measurements of steering."""
