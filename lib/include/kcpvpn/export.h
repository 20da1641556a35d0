/* Marks what the shared library exports; everything else is hidden. */
#ifndef KCPVPN_EXPORT_H
#define KCPVPN_EXPORT_H

#define KCPVPN_API __attribute__((visibility("default")))

#endif
