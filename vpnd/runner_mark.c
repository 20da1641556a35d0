/*
 * A file of two characters, locked as long as its owner lives: the kernel gives the lock back however that ends. The owner
 * removes the file when there is nothing to undo; who waited for the lock meanwhile has that of a file that is gone, and
 * begins again.
 */
#include "vpnd/runner_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool make_path(const char *folder, const char *network, char path[RUNNER_MARK_PATH_BYTES])
{
	int len = snprintf(path, RUNNER_MARK_PATH_BYTES, "%s/%s.undo", folder, network);

	return len > 0 && len < RUNNER_MARK_PATH_BYTES;
}

bool runner_mark_exists(const char *folder, const char *network)
{
	char path[RUNNER_MARK_PATH_BYTES];

	return make_path(folder, network, path) && access(path, F_OK) == 0;
}

int runner_mark_take(struct runner_mark *ret_mark, const char *folder, const char *network)
{
	struct runner_mark mark = {.fd = -1};
	char was[2] = {'0', '0'};
	struct stat st;

	if (!make_path(folder, network, mark.path))
		return -ENAMETOOLONG;
	(void)snprintf(mark.folder, sizeof(mark.folder), "%s", folder);
	(void)mkdir(folder, 0755);
	for (;;) {
		mark.fd = open(
			mark.path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
		if (mark.fd < 0)
			return -errno;
		if (flock(mark.fd, LOCK_EX | LOCK_NB) < 0 || fstat(mark.fd, &st) < 0) {
			int error = -errno;
			close(mark.fd);
			return error == -EWOULDBLOCK ? -EAGAIN : error;
		}
		if (st.st_nlink > 0)
			break;
		close(mark.fd); /* its owner has just removed it */
	}
	if (pread(mark.fd, was, sizeof(was), 0) == (ssize_t)sizeof(was)) {
		mark.link = was[0] == '1';
		mark.resolvers = was[1] == '1';
	}
	*ret_mark = mark;
	return 0;
}

void runner_mark_write(struct runner_mark *mark, bool link, bool resolvers)
{
	const char is[2] = {link ? '1' : '0', resolvers ? '1' : '0'};

	if (mark->fd < 0 || (mark->link == link && mark->resolvers == resolvers))
		return;
	mark->link = link;
	mark->resolvers = resolvers;
	if (pwrite(mark->fd, is, sizeof(is), 0) < 0) {
		/* a full /run: then a crash leaves behind what it leaves behind */
	}
}

void runner_mark_drop(struct runner_mark *mark)
{
	if (mark->fd < 0)
		return;
	if (!mark->link && !mark->resolvers && unlink(mark->path) == 0)
		(void)rmdir(mark->folder); /* if it was made for this alone */
	close(mark->fd);
	mark->fd = -1;
}
