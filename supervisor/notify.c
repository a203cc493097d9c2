#include "supervisor/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_US INT64_C(1000)
/* A lost READY=1 would be the end of the service; a manager that does not read
 * must not be the end of the flow. */
#define WAIT_US 100000

/* Makes an address of a path, or of an abstract name behind "@". Returns
 * whether it is one. */
static bool
set_address(struct notify *notify, const char *name)
{
	size_t bytes = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || bytes < 2 ||
	    bytes >= sizeof(notify->address.sun_path))
		return false;
	notify->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(notify->address.sun_path, name, bytes);
	if (name[0] == '@')
		notify->address.sun_path[0] = '\0';
	notify->address_bytes =
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
	return true;
}

void
notify_init(struct notify *notify)
{
	const struct timeval wait = {.tv_usec = WAIT_US};
	const char *name = getenv("NOTIFY_SOCKET");

	notify->fd = -1;
	if (name != NULL && set_address(notify, name))
		notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)unsetenv("NOTIFY_SOCKET");
	if (notify->fd != -1)
		(void)setsockopt(
		    notify->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
}

void
notify_fini(struct notify *notify)
{
	if (notify->fd != -1)
		(void)close(notify->fd);
	notify->fd = -1;
}

bool
notify_is_wanted(const struct notify *notify)
{
	return notify->fd != -1;
}

void
notify_send(const struct notify *notify, const char *format, ...)
{
	char message[NOTIFY_BYTES];
	int saved = errno, bytes;
	va_list args;

	if (notify->fd == -1)
		return;
	va_start(args, format);
	bytes = vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (bytes < (int)sizeof(message))
		(void)sendto(notify->fd, message, (size_t)bytes, MSG_NOSIGNAL,
		    (const struct sockaddr *)&notify->address,
		    notify->address_bytes);
	errno = saved;
}

void
notify_reloading(const struct notify *notify, int64_t now_ns)
{
	notify_send(
	    notify, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, now_ns / NS_PER_US);
}
