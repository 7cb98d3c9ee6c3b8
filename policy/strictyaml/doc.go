// Package strictyaml reads YAML files that are data and nothing else: one document of mappings, lists and text, without aliases,
// anchors, tags, merge keys and duplicate keys. Scalars are kept as they are written; what they mean is said by the reader that takes
// them, so no text turns into a boolean, a number or a date by accident.
//
// Reading does not stop at the first mistake. Everything that is wrong is added to a Problems, with its place in the file, and
// Problems.Err shows it all:
//
//	var problems strictyaml.Problems
//	if root := strictyaml.Parse("a.yaml", data, &problems); root != nil {
//		root.Object(&problems, []strictyaml.Field{
//			{Name: "listen", Required: true, Read: func(n *strictyaml.Node) { c.listen, _ = n.Text(&problems) }},
//		})
//	}
//	return problems.Err()
//
// A problem quotes the line it stands in. Files read with this package should therefore hold no secrets, only the names of files that do.
package strictyaml
