"""healthproxy: the sidecar that makes Kubernetes probes work behind any service mesh.

Importing the package loads nothing else: `check` runs as an exec probe every few seconds and pays for each import.
"""

__version__ = "0.1.0"
