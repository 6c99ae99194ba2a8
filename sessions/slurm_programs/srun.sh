#!/bin/sh
# Slipway: srun needs the cluster's own keys, which no session has.
command=${*:-COMMAND}
cat >&2 <<TEXT
srun: does not work from a session: Slurm does not take tokens for it. Submit a job instead; inside one, srun works:
  sbatch --wrap '$command'    then  squeue --me    and read slurm-JOBID.out
TEXT
exit 1
