"""Webhooks: a workspace's admins name addresses that are told of its sessions' phases.

``announce`` writes deliveries in the transaction that changes the phases, ``delivery`` sends what is due, ``http`` and
``targets`` see to it that nothing inside the network is reached that way. docs/webhooks.md is for receivers.
"""
