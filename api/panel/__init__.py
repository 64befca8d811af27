"""/admin: the panel, for those who support the users."""

from api.panel import actions, admins, approvals, bulk, config, health, log, user, users
from api.panel.base import bp

__all__ = ["actions", "admins", "approvals", "bp", "bulk", "config", "health", "log", "user", "users"]
