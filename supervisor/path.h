/*
 * Paths as a file of the configuration has them. Pure: nothing is looked up.
 */
#ifndef SUPERVISOR_PATH_H
#define SUPERVISOR_PATH_H

/*
 * Returns `path` as seen from the directory `base`, which is absolute and holds
 * no symbolic link, so that a leading ".." can be resolved in it by its text.
 * The caller frees it.
 */
char *path_join(const char *base, const char *path);

#endif
