/* One program of the administrator's: started, watched, and ended with all that it started. */
#ifndef VPND_PROGRAM_H
#define VPND_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct program {
	pid_t pid;
	int fd; /* becomes readable when it has ended; -1 = the kernel cannot tell, ask program_ended() */
};

/**
 * Starts a program in a process group of its own, with no signal blocked or ignored, no descriptor but the own standard
 * error as its output, and the limits that vpnd was started with.
 *
 * @text  what it reads, PIPE_BUF bytes at least; more may be cut if nobody reads. NULL = nothing
 * @return 0 or a negative errno. A program that cannot be run ends with 127
 */
int program_start(struct program *ret_program, char *const *argv, char *const *envp,
	const char *text, size_t text_len);

/**
 * Asks whether it has ended; then nothing is left of it here.
 *
 * @ret_how  its exit status; 128 and the signal that ended it; a negative errno
 */
bool program_ended(struct program *program, int *ret_how);

/** Ends it and its children. Waits for it, but not long: who hangs in the kernel is left there. */
void program_kill(struct program *program);

#endif
