/*
 * Three answers to a system call:
 *
 *      allowed   what the daemon and the C library do: measured with strace, and read from glibc's resolver
 *      killed    what only an intruder would do: another program, another process's memory, other kinds of sockets,
 *                mounts, namespaces, kernel modules, io_uring, ...
 *      ENOSYS    all the rest. A C library of tomorrow tries a new call first and falls back to the old one when the
 *                kernel does not know it; killing a gateway for an update of glibc would do more harm than the attempt.
 *                The call is not made in either case.
 *
 * The worker has one filter for its main thread and for the one that looks up names, whose modules (NSS) need files and
 * sockets: they share one memory, so a tighter filter for one of them would stop nobody who can write to it. What files
 * may be opened is left to the file system: the worker is nobody there.
 *
 * Memory is never both writable and executable, and what was writable never becomes executable; modules are mapped
 * from files.
 *
 * Sanitizers trace their own process, start symbolizers and map memory as they like: with them the rest is allowed, too,
 * and of what is killed only that which no sanitizer needs.
 *
 * seccomp also turns off speculation around stores on some kernels, at a price of several percent. It guards against
 * foreign code in the same process (JavaScript), which there is none of: it stays on.
 *
 * Sources: seccomp(2), libseccomp, `strace -f -c` of tunnels under load, reload and name lookups.
 */
#include "vpnd/syscall_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum {
#ifdef __s390__
	CLONE_FLAGS_ARG = 1,
#else
	CLONE_FLAGS_ARG = 0,
#endif
};

/* Both processes: memory, time, files, sockets as the C library uses them. */
static const int BOTH[] = {
	/* the end, signals, time */
	SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time),
	/* memory */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mlock),
	SCMP_SYS(mlock2), SCMP_SYS(munlock), SCMP_SYS(getrandom),
	/* files */
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(close), SCMP_SYS(read), SCMP_SYS(readv),
	SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pwrite64), SCMP_SYS(lseek),
	SCMP_SYS(_llseek), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat), SCMP_SYS(newfstatat),
	SCMP_SYS(fstatat64), SCMP_SYS(statx), SCMP_SYS(statfs), SCMP_SYS(fstatfs), SCMP_SYS(access),
	SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64), SCMP_SYS(getcwd), SCMP_SYS(ftruncate), SCMP_SYS(fsync),
	SCMP_SYS(fdatasync), SCMP_SYS(flock), SCMP_SYS(dup), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
	SCMP_SYS(rmdir),
	/* sockets */
	SCMP_SYS(bind), SCMP_SYS(connect), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
	SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(sendto), SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(sendmmsg), SCMP_SYS(recvmmsg),
	SCMP_SYS(shutdown), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6),
	/* who am I */
	SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
	SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(getresuid), SCMP_SYS(getresgid),
	SCMP_SYS(getgroups), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrlimit),
	SCMP_SYS(getrusage), SCMP_SYS(times), SCMP_SYS(capget),
	/* locks, and what threads need of the C library */
	SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(set_tid_address), SCMP_SYS(rseq),
	SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(membarrier)};

static const int WORKER[] = {
	/* the loop */
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_gettime), SCMP_SYS(eventfd2), SCMP_SYS(signalfd4), SCMP_SYS(pipe2),
	/* the control socket */
	SCMP_SYS(listen), SCMP_SYS(accept4), SCMP_SYS(accept), SCMP_SYS(socketpair),
	/* the state folder */
	SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(fchmod),
	/* the end of the helper */
	SCMP_SYS(wait4), SCMP_SYS(waitid)};

static const int HELPER[] = {
	/* what is handed to the worker */
	SCMP_SYS(memfd_create)};

static const int KILLED[] = {
	/* the kernel and other processes */
	SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd), SCMP_SYS(init_module), SCMP_SYS(finit_module),
	SCMP_SYS(delete_module), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(reboot),
	SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(iopl),
	SCMP_SYS(ioperm), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register), SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(keyctl),
	/* mounts, namespaces */
	SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot),
	SCMP_SYS(open_tree), SCMP_SYS(move_mount), SCMP_SYS(fsopen), SCMP_SYS(fsmount),
	SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(open_by_handle_at),
	/* the host */
	SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(sethostname), SCMP_SYS(setdomainname),
	SCMP_SYS(settimeofday), SCMP_SYS(clock_settime), SCMP_SYS(acct), SCMP_SYS(mknod),
	SCMP_SYS(mknodat)};

/* The same, but sanitizers do it. */
static const int KILLED_PLAIN[] = {
	SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(ptrace)};

/* Requests that only read; TUNGETIFF tells the device's name of today. SIOCETHTOOL reads, too, without CAP_NET_ADMIN. */
static const unsigned IOCTLS[] = {FIONREAD, FIONBIO, TCGETS, TIOCGWINSZ, SIOCGIFFLAGS, SIOCGIFINDEX,
	SIOCGIFNAME, SIOCGIFCONF, SIOCGIFADDR, SIOCGIFMTU, SIOCETHTOOL, TUNGETIFF};

/* Of own devices: whether anybody is at the other end, and which queues get packets. */
static const unsigned IOCTLS_WORKER[] = {TUNSETCARRIER, TUNSETQUEUE};

/* Devices of peers; the kernel asks for CAP_NET_ADMIN besides. */
static const unsigned IOCTLS_HELPER[] = {TUNSETIFF, TUNSETOFFLOAD, TUNSETCARRIER};

/* Descriptors' flags and copies, and locks; no signals to others (F_SETOWN), no leases. */
static const unsigned FCNTLS[] = {
	F_GETFL,
	F_SETFL,
	F_GETFD,
	F_SETFD,
	F_DUPFD_CLOEXEC,
	F_GETLK,
	F_SETLK,
	F_SETLKW,
	F_OFD_GETLK,
	F_OFD_SETLK,
	F_OFD_SETLKW,
#if F_GETLK64 != F_GETLK
	F_GETLK64,
	F_SETLK64,
	F_SETLKW64,
#endif
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* @return true if that failed; a call that this architecture does not have is none to allow or to forbid */
static bool add(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int error = seccomp_rule_add(ctx, action, calls[i], 0);
		if (error && error != -EDOM && error != -ENOSYS)
			return true;
	}
	return false;
}

/* Conditions. The kernel takes 32 bits of an int; what a caller leaves in the upper half of the register means nothing. */
static struct scmp_arg_cmp masked(unsigned arg, scmp_datum_t mask, scmp_datum_t value)
{
	return (struct scmp_arg_cmp){
		.arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

static struct scmp_arg_cmp is(unsigned arg, unsigned value)
{
	return masked(arg, UINT32_MAX, value);
}

static bool add_sockets(scmp_filter_ctx ctx, enum syscall_filter_role role)
{
	static const unsigned FAMILIES[] = {AF_UNIX, AF_INET, AF_INET6};
	static const unsigned KINDS[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

	for (size_t i = 0; i < COUNT(FAMILIES); i++) {
		for (size_t k = 0; k < COUNT(KINDS); k++) {
			if (seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
				    is(0, FAMILIES[i]), masked(1, 0xf, KINDS[k])))
				return true;
		}
	}
	/* the helper puts up the packet filter of a kill switch */
	if (role == SYSCALL_FILTER_HELPER &&
		seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, is(0, AF_NETLINK),
			is(2, NETLINK_NETFILTER)))
		return true;
	return seccomp_rule_add(
		       ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, is(0, AF_NETLINK), is(2, 0)) != 0;
}

static bool add_memory(scmp_filter_ctx ctx)
{
	static const int MAPS[] = {SCMP_SYS(mmap), SCMP_SYS(mmap2)};

	for (size_t i = 0; i < COUNT(MAPS); i++) {
		int error =
			seccomp_rule_add(ctx, SCMP_ACT_ALLOW, MAPS[i], 1, masked(2, PROT_EXEC, 0));
		if (!error)
			error = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, MAPS[i], 1,
				masked(2, PROT_EXEC | PROT_WRITE, PROT_EXEC));
		if (error && error != -EDOM)
			return true;
	}
	return seccomp_rule_add(
		       ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, masked(2, PROT_EXEC, 0)) != 0;
}

static bool add_fcntl(scmp_filter_ctx ctx)
{
	static const int CALLS[] = {SCMP_SYS(fcntl), SCMP_SYS(fcntl64)};

	for (size_t i = 0; i < COUNT(CALLS); i++) {
		for (size_t k = 0; k < COUNT(FCNTLS); k++) {
			int error = seccomp_rule_add(
				ctx, SCMP_ACT_ALLOW, CALLS[i], 1, is(1, FCNTLS[k]));
			if (error && error != -EDOM && error != -ENOSYS)
				return true;
		}
	}
	return false;
}

static bool add_ioctls(scmp_filter_ctx ctx, const unsigned *requests, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, is(1, requests[i])))
			return true;
	}
	return false;
}

/* Calls of which some forms are allowed. */
static bool add_parts(scmp_filter_ctx ctx, enum syscall_filter_role role)
{
	if (add_ioctls(ctx, IOCTLS, COUNT(IOCTLS)) ||
		(role == SYSCALL_FILTER_WORKER
				? add_ioctls(ctx, IOCTLS_WORKER, COUNT(IOCTLS_WORKER))
				: add_ioctls(ctx, IOCTLS_HELPER, COUNT(IOCTLS_HELPER))))
		return true;
	/* abort() and raise(); limits are read, never set; threads get names */
	return seccomp_rule_add(
		       ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, is(0, (unsigned)getpid())) ||
	       seccomp_rule_add(
		       ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, masked(2, UINT64_MAX, 0)) ||
	       seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, is(0, PR_SET_NAME)) ||
	       seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, is(0, PR_GET_DUMPABLE)) ||
	       add_fcntl(ctx) || add_sockets(ctx, role) || add_memory(ctx);
}

static bool add_killed(scmp_filter_ctx ctx)
{
	/* packets, crypto, Bluetooth, XDP, ...: all numbers behind the last one in use here */
	for (unsigned family = AF_NETLINK + 1; family < 64; family++) {
		if (seccomp_rule_add(
			    ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(socket), 1, is(0, family)))
			return true;
	}
	return add(ctx, SCMP_ACT_KILL_PROCESS, KILLED, COUNT(KILLED)) ||
	       (!SANITIZED && add(ctx, SCMP_ACT_KILL_PROCESS, KILLED_PLAIN, COUNT(KILLED_PLAIN)));
}

/* New threads, but no new processes. clone3 hides its flags in memory: ENOSYS makes glibc take clone. */
static bool add_threads(scmp_filter_ctx ctx, enum syscall_filter_role role)
{
	if (role == SYSCALL_FILTER_WORKER &&
		seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			masked(CLONE_FLAGS_ARG, CLONE_THREAD, CLONE_THREAD)))
		return true;
	return seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
		       masked(CLONE_FLAGS_ARG, CLONE_THREAD, 0)) != 0;
}

static bool add_allowed(scmp_filter_ctx ctx, enum syscall_filter_role role)
{
	if (SANITIZED) /* allowed by default, and a rule that says the same is an error */
		return false;
	return add(ctx, SCMP_ACT_ALLOW, BOTH, COUNT(BOTH)) ||
	       (role == SYSCALL_FILTER_WORKER ? add(ctx, SCMP_ACT_ALLOW, WORKER, COUNT(WORKER))
					      : add(ctx, SCMP_ACT_ALLOW, HELPER, COUNT(HELPER))) ||
	       add_parts(ctx, role) || add_threads(ctx, role);
}

int syscall_filter_load(enum syscall_filter_role role)
{
	scmp_filter_ctx ctx = seccomp_init(SANITIZED ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS));
	int error = -EINVAL;

	if (!ctx)
		return -ENOMEM;
	/* Calls of another architecture's table (32-bit ones on x86-64) are not ours at all. */
	if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) ||
		seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0))
		goto release;
	/* Only faster: older libraries do not know these. */
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_SSB, 1);
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (add_killed(ctx) || add_allowed(ctx, role))
		goto release;
	error = seccomp_load(ctx);
release:
	seccomp_release(ctx);
	return error;
}
