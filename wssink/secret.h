/*
 * Text that is secret. What of the command line a process list must not show is
 * written over in place, once a copy was taken.
 */
#ifndef WSSINK_SECRET_H
#define WSSINK_SECRET_H

/* Frees a text, after writing over it; NULL is allowed. */
void secret_free(char *text);

/* Hides all of a text. */
void secret_hide(char *text);

/* Hides the user and password in a URL, which may lack its scheme if it is that
 * of a proxy. */
void secret_hide_user(char *url);

/* Hides the value of a header whose name says that it is secret. */
void secret_hide_header(char *header);

#endif
