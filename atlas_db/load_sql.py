"""The statements that fill an atlas's tables, in the order in which they run.

They read views named `run_TABLE` over a run folder's Parquet files, the temporary tables
`merged_exemplars`, `unit_sums`, `concept_names` and `image_stems`, and tables that were filled
before. Each inserts in the order of its table's key. Sums of floats name their order, so that the
same run gives the same bits on any number of threads. `$units_per_layer`,
`$always_on_min_frequency`, `$always_on_min_ratio`, `$min_words` and `$n_neighbours` are parameters.
"""

from __future__ import annotations

_LAYER_UNIT = "uid // $units_per_layer AS layer, uid % $units_per_layer AS unit"

#: Table and statement: what the data set and the shards say, for the images that were read.
IMAGE_TABLES = (
    ("licences", "FROM run_licences ORDER BY licence_id"),
    ("categories", "FROM run_categories ORDER BY category_id"),
    (
        "instances",
        """
        SELECT image_id, instance_id, category_id, is_crowd, area_px,
            box_x_px, box_y_px, box_width_px, box_height_px, rle_counts
        FROM run_instances SEMI JOIN run_captions USING (image_id)
        ORDER BY image_id, instance_id
        """,
    ),
    (
        "human_captions",
        """
        FROM run_human_captions SEMI JOIN run_captions USING (image_id)
        ORDER BY image_id, caption_index
        """,
    ),
    ("targets", "FROM run_targets ORDER BY image_id, target"),
    (
        "images",
        """
        SELECT image_id, file, split, width_px, height_px, licence_id, source_url, coco_url,
            caption, coalesce(words, []), coalesce(names, [])
        FROM run_images
        JOIN (SELECT image_id, caption FROM run_captions) USING (image_id)
        LEFT JOIN (
            SELECT image_id, list(word ORDER BY target) AS words FROM targets GROUP BY image_id
        ) USING (image_id)
        LEFT JOIN (
            SELECT image_id, list(DISTINCT name ORDER BY name) AS names
            FROM instances JOIN categories USING (category_id) GROUP BY image_id
        ) USING (image_id)
        ORDER BY image_id
        """,
    ),
    (
        "attributions",
        f"""
        SELECT image_id, target, rank, uid, {_LAYER_UNIT}, patch, attribution, z, a, gradient
        FROM run_attributions ORDER BY image_id, target, rank
        """,
    ),
    (
        "image_units",
        f"""
        SELECT image_id, target, rank, uid, {_LAYER_UNIT}, patch, attribution, z, a, gradient,
            heatmap, heatmap_scale, heatmap_zero
        FROM run_image_units ORDER BY image_id, target, rank
        """,
    ),
    (
        "unit_images",
        """
        SELECT uid, attribution, image_id, target, rank, word
        FROM image_units JOIN targets USING (image_id, target)
        ORDER BY uid, attribution DESC, image_id, target
        """,
    ),
    (
        "unit_categories",
        f"""
        SELECT uid, category_id, {_LAYER_UNIT}, count(*), avg(a ORDER BY image_id)
        FROM (SELECT uid, image_id, max(a) AS a FROM image_units GROUP BY uid, image_id)
        JOIN (SELECT DISTINCT image_id, category_id FROM instances) USING (image_id)
        GROUP BY uid, category_id ORDER BY uid, category_id
        """,
    ),
)

#: Table and statement: what the merge of the shards and decoding say.
MERGED_TABLES = (
    (
        "exemplars",
        f"""
        SELECT uid, rank, {_LAYER_UNIT}, image_id, activation, patch
        FROM merged_exemplars ORDER BY uid, rank
        """,
    ),
    (
        "unit_tokens",
        f"""
        SELECT uid, sign, rank, {_LAYER_UNIT}, token_id, token, concept, logit, prob
        FROM run_unit_tokens JOIN tokens USING (token_id) ORDER BY uid, sign DESC, rank
        """,
    ),
    (
        "concepts",
        """
        SELECT concept, slug, stem, n_units, n_layers, best_prob
        FROM concept_names JOIN (
            SELECT concept, count(DISTINCT uid) AS n_units, count(DISTINCT layer) AS n_layers,
                max(prob) AS best_prob
            FROM unit_tokens WHERE sign = 1 AND concept IS NOT NULL GROUP BY concept
        ) USING (concept)
        ORDER BY concept
        """,
    ),
    (
        "concept_units",
        f"""
        WITH said AS (
            SELECT concept, uid, min(rank) AS rank, arg_min(prob, rank) AS prob,
                arg_min(token, rank) AS token
            FROM unit_tokens WHERE sign = 1 AND concept IS NOT NULL GROUP BY concept, uid
        ),
        shown AS (
            SELECT concept, uid, count(*) AS n_shown
            FROM said JOIN concept_names USING (concept) JOIN exemplars USING (uid)
                JOIN image_stems USING (image_id, stem)
            GROUP BY concept, uid
        )
        SELECT concept, coalesce(n_shown, 0) AS n_shown, prob, uid, {_LAYER_UNIT}, rank, token
        FROM said LEFT JOIN shown USING (concept, uid)
        ORDER BY concept, n_shown DESC, prob DESC, uid
        """,
    ),
    (
        "concept_neighbours",
        """
        SELECT concept, rank, neighbour, cosine
        FROM (
            SELECT *, row_number() OVER (
                PARTITION BY concept ORDER BY cosine DESC, neighbour
            ) AS rank
            FROM (
                SELECT near.concept AS concept, far.concept AS neighbour, max(cosine) AS cosine
                FROM run_token_neighbours
                JOIN tokens AS near USING (token_id)
                JOIN tokens AS far ON far.token_id = neighbour_id
                WHERE near.concept <> far.concept
                    AND near.concept IN (SELECT concept FROM concepts)
                    AND far.concept IN (SELECT concept FROM concepts)
                GROUP BY near.concept, far.concept
            )
        )
        WHERE rank <= $n_neighbours ORDER BY concept, rank
        """,
    ),
    (
        "unit_neighbours",
        "SELECT uid, rank, neighbour_uid, cosine FROM run_unit_neighbours ORDER BY uid, rank",
    ),
)

#: Table and statement: what rests on all of these, on `exemplars` and on `unit_sums`.
UNIT_TABLES = (
    (
        "units",
        f"""
        WITH shown AS (
            SELECT uid, count(DISTINCT image_id) AS n_images, max(attribution) AS best,
                avg(attribution::DOUBLE ORDER BY image_id, target) AS mean
            FROM unit_images GROUP BY uid
        ),
        said AS (
            SELECT uid, list(token ORDER BY rank) AS top_tokens,
                count(*) FILTER (WHERE is_word) AS n_words
            FROM unit_tokens JOIN (SELECT token_id, is_word FROM tokens) USING (token_id)
            WHERE sign = 1 GROUP BY uid
        ),
        counted AS (
            SELECT uid, write_norm, coalesce(n_images, 0) AS n_images,
                coalesce(n_images, 0) / (SELECT count(*) FROM images) AS frequency, best, mean
            FROM run_units LEFT JOIN shown USING (uid)
        ),
        usual AS (SELECT sum(n_images) / count(*) / (SELECT count(*) FROM images) AS frequency
            FROM counted)
        SELECT uid, {_LAYER_UNIT}, coalesce(top_tokens, []), n_images, counted.frequency,
            counted.frequency > $always_on_min_frequency
                AND counted.frequency > $always_on_min_ratio * usual.frequency,
            coalesce(n_words, 0) >= $min_words, coalesce(n_words, 0), best, mean,
            activation AS activation_max, write_norm, n_patches,
            activation_mean, activation_density,
            least(activation_q50, activation), least(activation_q90, activation),
            least(activation_q95, activation), least(activation_q99, activation), histogram
        FROM counted
        CROSS JOIN usual
        LEFT JOIN said USING (uid)
        LEFT JOIN (SELECT uid, activation FROM exemplars WHERE rank = 1) USING (uid)
        LEFT JOIN unit_sums USING (uid)
        ORDER BY uid
        """,
    ),
    (
        "layers",
        """
        SELECT layer, count(*), count(*) FILTER (WHERE n_images > 0),
            count(*) FILTER (WHERE is_interpretable),
            count(*) FILTER (WHERE is_interpretable AND n_images > 0),
            coalesce(any_value(n_places), 0) AS n_top_places,
            n_top_places / greatest(1, (SELECT count(*) FROM image_units))
        FROM units
        LEFT JOIN (
            SELECT layer, count(*) AS n_places FROM image_units GROUP BY layer
        ) USING (layer)
        GROUP BY layer ORDER BY layer
        """,
    ),
)
