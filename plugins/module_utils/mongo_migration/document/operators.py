"""The operators that MongoDB knows, up to 8.0: what else begins with a dollar is a mistake."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import Any


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FILTER = _words(
    """
    $eq $ne $gt $gte $lt $lte $in $nin $and $or $not $nor $exists $type $expr $jsonSchema $mod
    $regex $options $text $search $language $caseSensitive $diacriticSensitive $where $all
    $elemMatch $size $bitsAllClear $bitsAllSet $bitsAnyClear $bitsAnySet $geoIntersects $geoWithin
    $near $nearSphere $geometry $maxDistance $minDistance $box $center $centerSphere $polygon
    $comment $rand $sampleRate $alwaysTrue $alwaysFalse
    """
)

STAGES = _words(
    """
    $addFields $bucket $bucketAuto $changeStream $collStats $count $currentOp $densify $documents
    $facet $fill $geoNear $graphLookup $group $indexStats $limit $listSessions $lookup $match
    $merge $out $planCacheStats $project $redact $replaceRoot $replaceWith $sample $search
    $searchMeta $set $setWindowFields $skip $sort $sortByCount $unionWith $unset $unwind
    $vectorSearch $querySettings $listSearchIndexes
    """
)

EXPRESSIONS = _words(
    """
    $abs $accumulator $acos $acosh $add $addToSet $allElementsTrue $and $anyElementTrue
    $arrayElemAt $arrayToObject $asin $asinh $atan $atan2 $atanh $avg $binarySize $bitAnd $bitNot
    $bitOr $bitXor $bottom $bottomN $bsonSize $ceil $cmp $concat $concatArrays $cond $convert $cos
    $cosh $count $covariancePop $covarianceSamp $dateAdd $dateDiff $dateFromParts $dateFromString
    $dateSubtract $dateToParts $dateToString $dateTrunc $dayOfMonth $dayOfWeek $dayOfYear
    $degreesToRadians $denseRank $derivative $divide $documentNumber $encStrContains
    $encStrEndsWith $encStrNormalizedEq $encStrStartsWith $eq $exp $expMovingAvg $filter $first
    $firstN $floor $function $getField $gt $gte $hour $ifNull $in $indexOfArray $indexOfBytes
    $indexOfCP $integral $isArray $isNumber $isoDayOfWeek $isoWeek $isoWeekYear $last $lastN $let
    $linearFill $literal $ln $locf $log $log10 $lt $lte $ltrim $map $max $maxN $median
    $mergeObjects $meta $millisecond $min $minN $minute $mod $month $multiply $ne $not
    $objectToArray $or $percentile $pow $push $radiansToDegrees $rand $range $rank $reduce
    $regexFind $regexFindAll $regexMatch $replaceAll $replaceOne $reverseArray $round $rtrim
    $sampleRate $second $setDifference $setEquals $setField $setIntersection $setIsSubset
    $setUnion $shift $sigmoid $sin $sinh $size $slice $sortArray $split $sqrt $stdDevPop
    $stdDevSamp $strLenBytes $strLenCP $strcasecmp $substr $substrBytes $substrCP $subtract $sum
    $switch $tan $tanh $toBool $toDate $toDecimal $toDouble $toHashedIndexKey $toInt $toLong
    $toLower $toObjectId $toString $toUUID $toUpper $top $topN $trim $trunc $tsIncrement
    $tsSecond $type $unsetField $week $year $zip
    """
)

# Extended JSON: these are values and no operators.
_VALUES = _words(
    """
    $oid $date $numberLong $numberInt $numberDouble $numberDecimal $binary $uuid $timestamp
    $regularExpression $minKey $maxKey $symbol $code $scope $undefined $dbPointer $ref $id $db
    """
)
# In pipelines an operator may stand where only the stage decides what it is.
_ANYWHERE = FILTER | EXPRESSIONS | STAGES

Unknown = Iterator[tuple[str, str]]


def in_filter(tree: Any, where: str) -> Unknown:
    """Yield the place of each operator of a filter that MongoDB doesn't know, with a near one."""
    for place, key, body in _operators(tree, where):
        if key == "$expr":
            yield from in_expression(body, f"{place}.$expr")
        elif key not in FILTER | _VALUES:
            yield f"{place}.{key}", near(key, FILTER)


def in_expression(tree: Any, where: str) -> Unknown:
    """Yield the same of an aggregation expression."""
    for place, key, _body in _operators(tree, where, through=True):
        if key not in EXPRESSIONS | _VALUES:
            yield f"{place}.{key}", near(key, EXPRESSIONS)


def in_pipeline(stages: Any, where: str) -> Unknown:
    """Yield the same of a pipeline: its stages, and whatever stands in them."""
    for index, stage in enumerate(stages):
        for key, body in stage.items():
            place = f"{where}[{index}].{key}"
            if key not in STAGES:
                yield place, near(key, STAGES)
                continue
            for inner, name, _body in _operators(body, place, through=True):
                if name not in _ANYWHERE | _VALUES:
                    yield f"{inner}.{name}", near(name, _ANYWHERE)


def near(name: str, known: Collection[str]) -> str:
    """Return the operator that *name* may have been meant to be, or nothing."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)), "")


def _operators(tree: Any, where: str, *, through: bool = False) -> Iterator[tuple[str, str, Any]]:
    """Yield each key with a dollar, with its place and what it holds.

    Args:
        tree: the filter or expression.
        where: its place in the document.
        through: whether to look into ``$expr`` and ``$literal``, too; a literal holds anything.
    """
    if isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _operators(item, f"{where}[{index}]", through=through)
    if not isinstance(tree, dict):
        return
    for key, body in tree.items():
        if key.startswith("$"):
            yield where, key, body
        if key in ("$literal", "$jsonSchema") or (key == "$expr" and not through):
            continue
        yield from _operators(body, f"{where}.{key}", through=through)
