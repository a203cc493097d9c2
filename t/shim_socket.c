/*
 * What a test puts in front of setsockopt(2) (LD_PRELOAD): the options by which
 * TCP itself finds out that nobody is there are taken, and not set.
 */
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

int
setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
{
	int (*real)(int, int, int, const void *, socklen_t);

	if (level == SOL_SOCKET && name == SO_KEEPALIVE)
		return 0;
	if (level == IPPROTO_TCP && name == TCP_USER_TIMEOUT)
		return 0;
	*(void **)&real = dlsym(RTLD_NEXT, "setsockopt");
	return real(fd, level, name, value, bytes);
}
