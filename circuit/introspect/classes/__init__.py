"""Classes for Python: ``ModelAnalyzer``, ``ModelHooks``, ``AblationStudy``."""
