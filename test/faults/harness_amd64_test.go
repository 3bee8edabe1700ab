package faults

// sysRenameat2 is the number of renameat2, which package syscall does not have.
const sysRenameat2 = 316
