/*
 * What a test puts in front of sendmsg(2) (LD_PRELOAD): while the file is there
 * that SHIM_NO_PASS names, a message with a descriptor cannot be sent, as to
 * somebody who has not read for long. The file is removed by that.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

ssize_t
sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t (*real)(int, const struct msghdr *, int);
	const char *file = getenv("SHIM_NO_PASS");

	if (msg->msg_controllen > 0 && file != NULL && unlink(file) == 0) {
		errno = EAGAIN;
		return -1;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "sendmsg");
	return real(fd, msg, flags);
}
