# Slipway: copies this image's Slurm client to $TARGET, with all that it needs of the image: loader, libraries and plugins.
# It never fails: a session without a client is still a session. What went wrong is said by the commands, from "problem".
set -u
problem() { echo "$1 Ask an admin to look at the Slurm cluster's client image." >"$TARGET/problem"; exit 0; }

mkdir -p "$TARGET/bin" "$TARGET/lib" "$TARGET/plugins"
for name in sinfo sbatch squeue scancel sacct scontrol; do
  found=$(command -v "$name") && cp -L "$found" "$TARGET/bin/$name"
done
[ -e "$TARGET/bin/sbatch" ] || problem "The client image has no Slurm client."

own=$(ldd "$TARGET/bin/sbatch" | sed -n 's/.*=> \(.*libslurm[^ ]*\) .*/\1/p' | head -n 1)
[ -n "$own" ] || problem "The client image's Slurm is built in a way that can't be copied."
folder=$(dirname "$own")
[ -e "$folder/auth_jwt.so" ] || folder=$folder/slurm
[ -e "$folder/auth_jwt.so" ] || problem "The client image's Slurm has no plugin auth/jwt."
for file in "$folder"/*.so; do
  case ${file##*/} in
    libslurm*) ;;
    # The daemons' own, with large libraries behind them.
    acct_gather* | accounting_storage_mysql* | burst_buffer* | ext_sensors* | gpu_* | job_submit* | jobacct_gather* | jobcomp*) ;;
    openapi* | power_* | prep_* | proctrack* | rest_auth* | sched_* | slurmctld_* | task_*) ;;
    *) cp -L "$file" "$TARGET/plugins/" ;;
  esac
done
for file in "$TARGET"/bin/* "$TARGET"/plugins/*.so; do
  ldd "$file" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\) .*/\1/p'
done | sort -u | while read -r library; do cp -L "$library" "$TARGET/lib/"; done

# The library knows its plugins by an absolute path, which is another one in a session. A path of the same length takes its
# place: that of the file descriptor 9, which the commands open on the folder.
library=$TARGET/lib/$(basename "$own")
place=/dev/fd/9
while [ ${#place} -lt ${#folder} ]; do place=$place/; done
[ ${#place} -eq ${#folder} ] && grep -qF "$folder" "$library" || problem "The client image's Slurm keeps its plugins where they can't be found again."
LC_ALL=C sed -i "s#$folder\\(\\x00\\)#$place\\1#g" "$library" || problem "The client image has no sed that can edit a library."
