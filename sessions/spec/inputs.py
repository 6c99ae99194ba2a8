"""What a user asks for, as typed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HomeInput:
    """Either ``create_size`` (a quantity: make a new home volume) or ``volume`` (the name of an existing one)."""

    create_size: str = ""
    volume: str = ""


@dataclass(frozen=True)
class DataVolumeInput:
    volume: str
    mount_path: str
    read_only: bool = False


@dataclass(frozen=True)
class EnvInput:
    name: str
    value: str


@dataclass(frozen=True)
class SpecInput:
    """What a user asks for, in names and slugs, exactly as typed. Empty text where nothing was chosen.

    ``compute_pool`` and ``slurm_cluster`` are names; ``configurations`` are slugs.
    """

    name: str
    preset: str
    image: str
    pod_size: str
    compute_pool: str = ""
    slurm_cluster: str = ""
    home: HomeInput = HomeInput()
    data_volumes: tuple[DataVolumeInput, ...] = ()
    configurations: tuple[str, ...] = ()
    env: tuple[EnvInput, ...] = ()
