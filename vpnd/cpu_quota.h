/* How much of the host's cores this process may use, where a control group bounds that. */
#ifndef VPND_CPU_QUOTA_H
#define VPND_CPU_QUOTA_H

#define CPU_QUOTA_PROC "/proc/self/cgroup"
#define CPU_QUOTA_MOUNT "/sys/fs/cgroup"

/**
 * The least quota on the way from the own group to the root of what can be seen, of control groups version 2.
 *
 * @proc   CPU_QUOTA_PROC
 * @mount  CPU_QUOTA_MOUNT
 * @return  cores, a part of one counted as one; 0: there is no bound, or none that can be read
 */
unsigned cpu_quota_cores(const char *proc, const char *mount);

#endif
