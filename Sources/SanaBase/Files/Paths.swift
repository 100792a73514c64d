import Libc

/// Path arithmetic and look-ups in the file system, for paths that users type.
extension String {
    /// The directory part; `.` for a bare name.
    public var parentFolder: String {
        guard let slash = lastIndex(of: "/") else { return "." }
        return slash == startIndex ? "/" : String(self[..<slash])
    }

    /// The part after the last slash, trailing slashes ignored.
    public var lastPathComponent: String {
        split(separator: "/").last.map(String.init) ?? self
    }

    /// `name` inside this directory.
    public func appendingPath(_ name: String) -> String {
        self == "." ? name : hasSuffix("/") ? self + name : self + "/" + name
    }

    /// Whether a file or directory exists here, links followed.
    public var pathExists: Bool { access(self, F_OK) == 0 }

    /// Whether there is a symlink here, dangling or not.
    public var isLink: Bool {
        var status = stat()
        return lstat(self, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
    }

    /// Whether a directory exists here, links followed.
    public var isFolder: Bool {
        var status = stat()
        return stat(self, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// The absolute path with all links followed; parts that do not exist are kept as they are.
    public var resolvedPath: String {
        if let resolved = realpath(self, nil) {
            defer { free(resolved) }
            return String(cString: resolved)
        }
        let path = count > 1 && hasSuffix("/") ? String(dropLast()) : self
        guard path == self, parentFolder != self else { return path.resolvedPath }
        return parentFolder.resolvedPath.appendingPath(lastPathComponent)
    }

    /// Names in this directory, sorted; without those of the operating system's own files.
    ///
    /// - Throws: `FileError` when it cannot be read.
    public func folderEntries() throws(FileError) -> [String] {
        guard let handle = opendir(self) else { throw FileError(.read, self, code: errno) }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != "..", !name.isSystemFileName { names.append(name) }
        }
        return names.sorted()
    }
}
