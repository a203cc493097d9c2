/*
 * Who the stages run as: the names of a user and a group in the configuration
 * become numbers here. It changes nobody's identity.
 */
#ifndef SUPERVISOR_IDENTITY_H
#define SUPERVISOR_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Longest text that says what is wrong, NUL included. */
#define IDENTITY_WHY_BYTES 256

struct identity {
	bool is_given; /* else the stages stay who we are */
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* owned; all of them, gid too */
	size_t group_count;
};

/*
 * Finds the numbers. `user` and `group` are names, or numbers where no name is
 * the same; NULL: not given. A user without a group has that of the user
 * database; a group without a user leaves the user we are. Only root can make
 * a stage somebody else: for others that is refused, and an identity that is
 * their own anyway is taken as not given.
 *
 * Returns 0 with *identity set, for identity_fini, or -1 with `why`, a
 * sentence; then *identity is as it was.
 */
int identity_find(struct identity *identity, const char *user,
    const char *group, char why[IDENTITY_WHY_BYTES]);

/* Frees the list of groups. */
void identity_fini(struct identity *identity);

#endif
