"""``python -m config.new_key`` prints a new key for SLIPWAY_ENCRYPTION_KEYS. It is no management command, because those
want settings, and settings want a key."""

from cryptography.fernet import Fernet

if __name__ == "__main__":
    print(Fernet.generate_key().decode())  # noqa: T201
