"""Addresses of hosts, used by settings, server and clients. Cheap to import."""

from ipaddress import ip_address

__all__ = ["is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether a host, by name or IP address (IPv6 without brackets), is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
