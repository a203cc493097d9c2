/*
 * The certificate files that a user names, looked at before they are used: what
 * is wrong with them is then said at the start, by name, and not by each try to
 * connect in the words of a library. It verifies no certificate.
 */
#ifndef WSSINK_PEM_H
#define WSSINK_PEM_H

/* Longest text that says what is wrong, NUL included. */
#define PEM_WHY_BYTES 512

/*
 * Checks that each file that is named (NULL: none is) can be read and is PEM
 * (RFC 7468): `ca` and `cert` hold a certificate, and `key`, or `cert` itself
 * if that is NULL, holds its key, not encrypted. Returns 0, or -1 with `why`
 * saying which option's file is at fault and why.
 */
int pem_check(
    const char *ca, const char *cert, const char *key, char why[PEM_WHY_BYTES]);

#endif
