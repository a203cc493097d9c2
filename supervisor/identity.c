#include "supervisor/identity.h"

#include "stage/mem.h"
#include "stage/number.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The highest number of a user or a group; the next stands for none. */
#define MAX_ID (UINT64_C(0xffffffff) - 1)

/* Says what is wrong. Returns -1. */
static int wrong(char *why, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int
wrong(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(why, IDENTITY_WHY_BYTES, format, args);
	va_end(args);
	return -1;
}

/* Says that a database has no such name, or could not be asked. */
static int
refuse_name(char *why, const char *what, const char *name)
{
	/* What getpwnam(3) lists as "not found", in its many ways. */
	if (errno == 0 || errno == ENOENT || errno == ESRCH || errno == EBADF ||
	    errno == EPERM)
		return wrong(
		    why, "%s: there is no %s \"%s\"", what, what, name);
	return wrong(why, "%s: \"%s\" cannot be looked up: %s", what, name,
	    strerror(errno));
}

/* Finds the user's number, and an entry of the database if there is one. */
static int
find_user(const char *user, uid_t *uid, const struct passwd **entry, char *why)
{
	uint64_t number;

	errno = 0;
	*entry = getpwnam(user);
	if (*entry != NULL) {
		*uid = (*entry)->pw_uid;
		return 0;
	}
	if (number_parse(user, 0, MAX_ID, &number) == -1)
		return refuse_name(why, "user", user);
	*uid = (uid_t)number;
	*entry = getpwuid(*uid);
	return 0;
}

static int
find_group(const char *group, gid_t *gid, char *why)
{
	const struct group *entry;
	uint64_t number;

	errno = 0;
	entry = getgrnam(group);
	if (entry != NULL) {
		*gid = entry->gr_gid;
		return 0;
	}
	if (number_parse(group, 0, MAX_ID, &number) == -1)
		return refuse_name(why, "group", group);
	*gid = (gid_t)number;
	return 0;
}

/* Lists all groups of a user; one without a name is in `gid` only. */
static void
list_groups(struct identity *identity, const char *name)
{
	int count = 1, room;

	do {
		room = count;
		identity->groups = mem_realloc(
		    identity->groups, (size_t)room, sizeof(*identity->groups));
		identity->groups[0] = identity->gid;
	} while (
	    name != NULL &&
	    getgrouplist(name, identity->gid, identity->groups, &count) == -1 &&
	    count > room);
	identity->group_count = (size_t)(count < room ? count : room);
}

/* Refuses what only root can do. */
static int
check_others(const struct identity *identity, const char *user,
    const char *group, char *why)
{
	if (identity->uid != geteuid())
		return wrong(why,
		    "user: only root can run the stages as another user, "
		    "\"%s\"",
		    user);
	if (group != NULL && identity->gid != getegid())
		return wrong(why,
		    "group: only root can run the stages with another group, "
		    "\"%s\"",
		    group);
	return 0;
}

int
identity_find(struct identity *identity, const char *user, const char *group,
    char why[IDENTITY_WHY_BYTES])
{
	struct identity found = {.uid = geteuid(), .gid = getegid()};
	const struct passwd *entry = NULL;

	if (user != NULL && find_user(user, &found.uid, &entry, why) == -1)
		return -1;
	if (group != NULL && find_group(group, &found.gid, why) == -1)
		return -1;
	found.is_given = geteuid() == 0 && (user != NULL || group != NULL);
	if (!found.is_given) {
		if (check_others(&found, user, group, why) == -1)
			return -1;
		*identity = found;
		return 0;
	}
	if (user != NULL && group == NULL && entry == NULL)
		return wrong(why,
		    "user: \"%s\" is a number without a name, so its group is "
		    "not known: give \"group\" too",
		    user);
	if (group == NULL)
		found.gid = entry->pw_gid;
	list_groups(&found, entry == NULL ? NULL : entry->pw_name);
	*identity = found;
	return 0;
}

void
identity_fini(struct identity *identity)
{
	free(identity->groups);
	*identity = (struct identity){0};
}
